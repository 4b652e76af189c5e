//! What an UPDATE changed that matters to a pull (DESIGN 6, UPDATE).
