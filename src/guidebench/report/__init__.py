"""Tables, statistics and the gallery: pure functions of stored sample records."""
