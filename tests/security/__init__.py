"""What is attacked, what stands against it, and the tests that say so."""
