"""`remote::oci`."""
