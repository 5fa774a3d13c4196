"""Looking at a prefix: the jobs, the fleet, what is wrong and why. Everything here only reads."""
