"""DLMS/COSEM protocol layers and the TCP server (Green Book ed. 8)."""
