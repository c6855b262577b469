"""`remote::elasticsearch`."""
