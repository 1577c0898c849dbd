"""The SET service: normal, with list, and both in blocks (Green Book 9.3.7, 9.4.6.4)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from core.cosem.base import Context
from core.dlms import operations, xdlms
from core.dlms.axdr import Value
from core.dlms.blocks import Incoming
from core.dlms.changes import carry_out
from core.dlms.limits import ServerLimits
from core.dlms.service import MALFORMED, NOT_NEGOTIATED, UNKNOWN_SERVICE, Answer, Service
from core.dlms.xdlms import Conformance, DataAccessResult, DataBlock, Outcome, Reference


class Set(Service):
    """Writes attributes. Those of a list are written one after the other, in the order that the client chose."""

    name = "set"

    def __init__(self, context: Context, limits: ServerLimits) -> None:
        super().__init__(context, limits)
        self._incoming: Incoming[Reference] | None = None

    def reset(self) -> None:
        """Forget the long request that the client is sending."""
        self._incoming = None

    def handle(self, apdu: bytes) -> Answer:
        """The answer to a SET-Request. Raises `DecodeError`."""
        if not self.negotiated(Conformance.SET):
            return NOT_NEGOTIATED
        if len(apdu) < 3:
            return MALFORMED
        kind, invoke_id = apdu[1], apdu[2]
        if kind == xdlms.SET_WITH_DATABLOCK:
            return self._block(invoke_id, xdlms.decode_block(apdu, 3))
        self._incoming = None
        if kind == xdlms.NORMAL:
            return self._write(invoke_id, [xdlms.decode_set_normal(apdu)], listed=False)
        if kind == xdlms.SET_WITH_LIST:
            writes = xdlms.decode_set_list(apdu)
            refusal = self.refused_list(len(writes), 3 + len(writes))
            return refusal or self._write(invoke_id, writes, listed=True)
        if kind == xdlms.SET_WITH_FIRST_DATABLOCK:
            reference, block = xdlms.decode_set_first_block(apdu)
            return self._first_block(invoke_id, [reference], block, listed=False)
        if kind == xdlms.SET_WITH_LIST_AND_FIRST_DATABLOCK:
            references, block = xdlms.decode_set_list_first_block(apdu)
            refusal = self.refused_list(len(references), 7 + len(references))
            return refusal or self._first_block(invoke_id, references, block, listed=True)
        return UNKNOWN_SERVICE

    def _first_block(
        self, invoke_id: int, references: list[Reference], block: DataBlock, *, listed: bool
    ) -> Answer:
        self._incoming = Incoming(references, listed, self.limits.request)
        return self._block(invoke_id, block)

    def _block(self, invoke_id: int, block: DataBlock) -> Answer:
        incoming = self._incoming
        if not self.negotiated(Conformance.BLOCK_TRANSFER_WITH_SET):
            self._incoming = None
            return NOT_NEGOTIATED
        if incoming is None:
            return self._ended(invoke_id, block.number, None, DataAccessResult.NO_LONG_SET_IN_PROGRESS)
        refusal = incoming.refusal(block)
        if refusal is not None:
            return self._ended(invoke_id, block.number, incoming, refusal)
        if not block.last:
            return xdlms.set_block_taken(invoke_id, block.number)
        self._incoming = None
        return self._write(invoke_id, incoming.values(), listed=incoming.listed, number=block.number)

    def _ended(
        self,
        invoke_id: int,
        number: int,
        incoming: Incoming[Reference] | None,
        result: DataAccessResult,
    ) -> bytes:
        self._incoming = None
        self.failed_with(f"block {number}", result)
        listed = incoming is not None and incoming.listed
        count = len(incoming.references) if incoming is not None and listed else 1
        return _response(invoke_id, [result] * count, listed, number)

    def _write(
        self,
        invoke_id: int,
        writes: Sequence[tuple[Reference, Value]],
        *,
        listed: bool,
        number: int | None = None,
    ) -> Answer:
        """Write; `number` is that of the last block, None where there are no blocks."""

        def answer(outcomes: list[Outcome]) -> bytes:
            for (reference, _), outcome in zip(writes, outcomes, strict=True):
                if outcome.result != DataAccessResult.SUCCESS:
                    self.failed_with(reference, outcome.result)
            return _response(invoke_id, [outcome.result for outcome in outcomes], listed, number)

        changes = [partial(operations.write, self.context, *write) for write in writes]
        return carry_out(changes, self.limits.change, answer)


def _response(invoke_id: int, results: list[DataAccessResult], listed: bool, number: int | None) -> bytes:
    if number is None:
        return (
            xdlms.set_list_results(invoke_id, results) if listed else xdlms.set_result(invoke_id, results[0])
        )
    if listed:
        return xdlms.set_last_block_list(invoke_id, results, number)
    return xdlms.set_last_block(invoke_id, results[0], number)
