"""What people said of answers: kept with consent, reviewed, and handed back to training as a data set."""
