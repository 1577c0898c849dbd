"""COSEM interface classes and the logical devices made of them (Blue Book ed. 12)."""
