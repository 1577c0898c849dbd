"""Push: reports of readings and events that the gateway sends to a head-end system by itself."""
