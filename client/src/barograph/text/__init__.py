"""What may be known of prompts and answers without storing them: features of text, and content as the contract says."""
