"""The roof of Nexus: wiring, and below it the platform that every app stands on."""
