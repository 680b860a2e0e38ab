"""The registry of prompts: versions and labels in the topic `prompts`, as commands write them."""
