"""The ACTION service: normal, with list, and both in blocks, in either direction (Green Book 9.3.8, 9.4.6.5)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from core.cosem.base import Context
from core.dlms import operations, xdlms
from core.dlms.axdr import Value, length
from core.dlms.blocks import Incoming, Outgoing
from core.dlms.changes import carry_out
from core.dlms.limits import ServerLimits
from core.dlms.service import MALFORMED, NOT_NEGOTIATED, UNKNOWN_SERVICE, Answer, Service
from core.dlms.xdlms import Conformance, DataAccessResult, DataBlock, MethodReference, Outcome

_LEAST = 4  # bytes of an outcome whose return parameter cannot be given


class Action(Service):
    """Invokes methods. Those of a list are invoked one after the other, in the order that the client chose.

    Blocks of an answer carry the return parameter of one method, whose success they imply, or the list of outcomes.
    """

    name = "action"

    def __init__(self, context: Context, limits: ServerLimits) -> None:
        super().__init__(context, limits)
        self._incoming: Incoming[MethodReference] | None = None
        self._outgoing: Outgoing | None = None

    def reset(self) -> None:
        """Forget the long request that the client is sending and the long answer that it is fetching."""
        self._incoming = None
        self._outgoing = None

    def handle(self, apdu: bytes) -> Answer:
        """The answer to an ACTION-Request. Raises `DecodeError`."""
        if not self.negotiated(Conformance.ACTION):
            return NOT_NEGOTIATED
        if len(apdu) < 3:
            return MALFORMED
        kind, invoke_id = apdu[1], apdu[2]
        if kind == xdlms.ACTION_NEXT_PBLOCK:
            return self._next_block(invoke_id, xdlms.decode_next(apdu))
        if kind == xdlms.ACTION_WITH_PBLOCK:
            return self._block(invoke_id, xdlms.decode_block(apdu, 3))
        self.reset()
        if kind == xdlms.NORMAL:
            return self._invoke(invoke_id, [xdlms.decode_action_normal(apdu)], listed=False)
        if kind == xdlms.WITH_LIST:
            actions = xdlms.decode_action_list(apdu)
            return self._refused_list(len(actions)) or self._invoke(invoke_id, actions, listed=True)
        if kind == xdlms.ACTION_WITH_FIRST_PBLOCK:
            method, block = xdlms.decode_action_first_block(apdu)
            return self._first_block(invoke_id, [method], block, listed=False)
        if kind == xdlms.ACTION_WITH_LIST_AND_FIRST_PBLOCK:
            methods, block = xdlms.decode_action_list_first_block(apdu)
            refusal = self._refused_list(len(methods))
            return refusal or self._first_block(invoke_id, methods, block, listed=True)
        return UNKNOWN_SERVICE

    @property
    def _in_blocks(self) -> bool:
        return self.negotiated(Conformance.BLOCK_TRANSFER_WITH_ACTION)

    def _refused_list(self, count: int) -> bytes | None:
        return self.refused_list(count, 3 + (0 if self._in_blocks else _LEAST * count))

    def _first_block(
        self, invoke_id: int, methods: list[MethodReference], block: DataBlock, *, listed: bool
    ) -> Answer:
        self._incoming = Incoming(methods, listed, self.limits.request)
        return self._block(invoke_id, block)

    def _block(self, invoke_id: int, block: DataBlock) -> Answer:
        incoming = self._incoming
        if not self._in_blocks:
            self.reset()
            return NOT_NEGOTIATED
        if incoming is None:
            return self._none_in_progress(invoke_id, block.number)
        if incoming.refusal(block) is not None:
            return self._aborted(invoke_id, block.number)
        if not block.last:
            return xdlms.action_block_taken(invoke_id, block.number)
        self._incoming = None
        return self._invoke(invoke_id, incoming.values(), listed=incoming.listed)

    def _next_block(self, invoke_id: int, received: int) -> bytes:
        outgoing = self._outgoing
        if outgoing is None:
            return self._none_in_progress(invoke_id, received)
        if received != outgoing.number:
            return self._aborted(invoke_id, received)
        return self._give(invoke_id, outgoing)

    def _give(self, invoke_id: int, outgoing: Outgoing) -> bytes:
        block = outgoing.next(xdlms.octet_capacity(self.room - xdlms.ACTION_BLOCK_OVERHEAD))
        if block.last:
            self._outgoing = None
        return xdlms.action_block(invoke_id, block)

    def _none_in_progress(self, invoke_id: int, number: int) -> bytes:
        self.reset()
        self.failed(f"block {number}: no long action in progress")
        return xdlms.action_result(
            invoke_id, xdlms.action_outcome(DataAccessResult.NO_LONG_ACTION_IN_PROGRESS)
        )

    def _aborted(self, invoke_id: int, number: int) -> bytes:
        self.reset()
        self.failed(f"block {number}: long action aborted")
        return xdlms.action_result(invoke_id, xdlms.action_outcome(DataAccessResult.LONG_ACTION_ABORTED))

    def _invoke(
        self,
        invoke_id: int,
        actions: Sequence[tuple[MethodReference, Value | None]],
        *,
        listed: bool,
    ) -> Answer:
        def answer(outcomes: list[Outcome]) -> bytes:
            for (method, _), outcome in zip(actions, outcomes, strict=True):
                if outcome.result != DataAccessResult.SUCCESS:
                    self.failed_with(method, outcome.result)
            return self._list(invoke_id, outcomes) if listed else self._single(invoke_id, outcomes[0])

        changes = [partial(operations.invoke, self.context, *action) for action in actions]
        return carry_out(changes, self.limits.change, answer)

    def _single(self, invoke_id: int, outcome: Outcome) -> bytes:
        answer = xdlms.action_result(invoke_id, xdlms.action_outcome(*outcome))
        if len(answer) <= self.room or outcome.returned is None:
            return answer
        if self._in_blocks and len(outcome.returned) <= self.limits.answer:
            self._outgoing = Outgoing(outcome.returned)
            return self._give(invoke_id, self._outgoing)
        self.failed("answer: data block unavailable")
        return xdlms.action_result(invoke_id, xdlms.action_outcome_without_data(outcome.result))

    def _list(self, invoke_id: int, outcomes: list[Outcome]) -> bytes:
        count = length(len(outcomes))
        answer = count + b"".join(xdlms.action_outcome(*outcome) for outcome in outcomes)
        largest = self.limits.answer if self._in_blocks else self.room - 3
        if len(answer) > largest:
            self.failed("answer: data block unavailable")
            answer = count + self._cut(outcomes, largest - len(count))
        if 3 + len(answer) <= self.room:
            return xdlms.action_list_results(invoke_id, answer)
        self._outgoing = Outgoing(answer)
        return self._give(invoke_id, self._outgoing)

    def _cut(self, outcomes: list[Outcome], room: int) -> bytes:
        """As many of the return parameters as fit, the first ones first, and why the others do not come."""
        parts: list[bytes] = []
        room -= _LEAST * len(outcomes)
        for outcome in outcomes:
            part = xdlms.action_outcome(*outcome)
            if len(part) - _LEAST > room:
                part = xdlms.action_outcome_without_data(outcome.result)
            room -= max(0, len(part) - _LEAST)
            parts.append(part)
        return b"".join(parts)
