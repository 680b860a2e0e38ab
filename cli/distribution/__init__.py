"""`barograph distribution`: what a field held in any window of the past."""
