"""Statistics of judges: the rate of faults from a judge's verdicts, corrected by labels of people, and their agreement.

A judge is a model or a rule that decides for each answer whether it is faulty, and is sometimes wrong. *Gold* are
answers that people have labelled too. Items are assumed to be independent: take one answer per conversation.
"""
