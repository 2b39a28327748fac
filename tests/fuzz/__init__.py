"""Every operation of the published document, with thousands of requests of every role."""
