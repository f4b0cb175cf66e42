"""`llavaflow chat`: a page to ask a model about images, compare two of them blind, and say what is good or wrong."""
