"""`remote::infinispan`."""
