"""How does an error look to a program? As problem+json (RFC 9457)."""
