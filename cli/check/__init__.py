"""`barograph check`: a file of training or serving data held against the contract."""
