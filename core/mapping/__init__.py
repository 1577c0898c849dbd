"""From M-Bus records to OBIS codes: mapping files and the engine that applies them."""
