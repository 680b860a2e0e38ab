"""`barograph check`: compares a file of training or serving data with the contract."""
