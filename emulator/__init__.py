"""Look-alikes of the foreign systems, built from their published contracts and samples alone.

`Emulator` holds one partner's world and every host over it as a WSGI app: call them in process by
host name, or `serve` them on loopback. It knows nothing of the product's own code, or it would
agree with its mistakes.
"""

from emulator.machine import Emulator, serve

__all__ = ["Emulator", "serve"]
