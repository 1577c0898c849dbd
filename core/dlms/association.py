"""One application association: a pure machine that turns request APDUs into answer APDUs (Green Book 9.4).

It opens and ends itself, authenticates the client, deciphers requests and ciphers answers; the services behind it see
plain APDUs. It does no I/O. An answer that needs something slow is a coroutine, which whoever owns the connection
runs.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Awaitable, Coroutine
from enum import Enum
from typing import Any, NamedTuple, TypeAlias

from core.cosem.base import MANAGEMENT_CLIENT, Context, DeviceDirectory
from core.dlms import acse, gbt, security, xdlms
from core.dlms.acse import AssociateRequest, Diagnostic, Mechanism
from core.dlms.admission import Credentials, Level, Policy, decipherable, judge, refusal, strength
from core.dlms.axdr import octet_string
from core.dlms.errors import CounterError, DecipherError, DecodeError, StaleCounterError
from core.dlms.gbt import BlockTransfer
from core.dlms.limits import ServerLimits
from core.dlms.observer import Observer
from core.dlms.protection import Envelope, Protection
from core.dlms.security import GENERAL_GLO, GLO, Ciphering
from core.dlms.services import MALFORMED, NOT_NEGOTIATED, NOT_POSSIBLE, SERVED, Answer, Services, Wait
from core.dlms.xdlms import (
    Conformance,
    DataAccessResult,
    InitiateError,
    InitiateRequest,
    ServiceError,
    StateError,
)

_log = logging.getLogger(__name__)

Outcome: TypeAlias = Answer | list[bytes] | Coroutine[Any, Any, list[bytes]]
"""What goes back: one APDU, several (or none) where the request came in blocks, now or later."""

NOT_DECIPHERED = xdlms.exception_response(StateError.SERVICE_NOT_ALLOWED, ServiceError.DECIPHERING_ERROR)
STALE_COUNTER = xdlms.exception_response(
    StateError.SERVICE_NOT_ALLOWED, ServiceError.INVOCATION_COUNTER_ERROR
)  # and the last counter

CHALLENGE_SIZE = 16  # bytes of StoC

_ACTION_NORMAL = b"\xc3\x01"
_REPLY_TO_HLS = bytes.fromhex("000f 0000280000ff 01 01 09")  # association LN, method 1, an octet-string
_PROOF_LENGTH = b"\x11"
_REPLIED = b"\xc7\x01"
_USEFUL = Conformance.GET | Conformance.SET | Conformance.ACTION  # one of them at least
_NEVER_IN_BLOCKS = (gbt.TAG, acse.AARQ, acse.RLRQ)


class Turn(Enum):
    """What a request did to the association itself."""

    CHALLENGED = "the first step of HLS is done"
    OPENED = "the client may use it"
    REFUSED = "the client's proposal does not work, or could not be deciphered"
    DENIED = "the client may not in"
    ENDED = "the client released it, or it does not reach the lowest level any more"


class _Rooms(NamedTuple):
    """Bytes of the largest plain answer, by the form in which it leaves."""

    plain: int
    ciphered: int
    general: int

    @classmethod
    def within(cls, size: int) -> _Rooms:
        """Where the APDU that leaves has at most `size` bytes."""
        return cls(size, GLO.room(size), GENERAL_GLO.room(size))

    def of(self, envelope: Envelope | None) -> int:
        if envelope is None:
            return self.plain
        return self.ciphered if envelope.form.offset else self.general


class Association:
    """The association of one client SAP with one server SAP on one connection.

    `turn` says what the last request did to the association, None for nothing; whoever owns the connection acts on it
    and sets it back. `reason` goes with a refusal.
    """

    def __init__(
        self,
        client_sap: int,
        server_sap: int,
        peer: str,
        directory: DeviceDirectory,
        credentials: Credentials,
        limits: ServerLimits,
        wait: Wait,
        observer: Observer,
        *,
        local: str = "",
    ) -> None:
        """`local`: the IP address that the client connected to."""
        self.context = Context(client_sap, server_sap, peer, directory, local=local)
        self.associated = False
        self.turn: Turn | None = None
        self.reason = ""
        self.acting = False  # whether the answer that is under way has side effects
        self.ciphering = "none"  # of the last request: "none", "glo", "ded", "general-glo", "general-ded"
        self.requests = 0  # since it was opened; these three are kept by whoever owns the connection
        self.since = self.last = 0.0  # times of the opening and of the last request, on the clock of the loop
        self.deadline = 0.0  # for the second step of HLS
        self._challenged = False  # waits for the second step of HLS
        self._challenges = (b"", b"")  # CtoS and StoC
        self._strength = Level.HIGH  # the authentication level that the association reaches
        self._credentials = credentials
        self._limits = limits
        self._observer = observer
        self._services = Services(self.context, limits, wait)
        self._protection = Protection(credentials)
        self._transfer = BlockTransfer(limits)
        self._in_blocks = False  # whether the last request came by general block transfer
        self._rooms = _Rooms.within(limits.apdu)
        self._counter_trouble = False  # which is logged once

    def handle(self, apdu: bytes) -> Outcome:
        """The answer to any APDU; a coroutine if it needs something slow. Never raises."""
        tag = apdu[0]
        if tag == acse.AARQ:
            return self._associate(apdu)
        if not (self.associated or self._challenged):
            return self._in_clear(apdu, NOT_POSSIBLE)
        if tag == acse.RLRQ:
            return self._release(apdu)
        if tag == gbt.TAG:
            return self._take_block(apdu)
        if self._in_blocks:
            self._end_blocks()
        return self._request(apdu, self._rooms)

    def settle(self) -> None:
        """Run what was to be done after an answer (`Context.after_answer`)."""
        todo, self.context.after_answer = self.context.after_answer, []
        for callback in todo:
            try:
                callback()
            except Exception:
                _log.exception("What follows an answer to %s failed", self.context.peer)

    # Services

    def _request(self, apdu: bytes, rooms: _Rooms) -> Answer:
        credentials, context = self._credentials, self.context
        if self._strength < credentials.level():
            self._close()
            return self._not_possible(apdu, "the association is weaker than the lowest authentication level")
        form = security.SERVICE_CIPHERINGS.get(apdu[0])
        if context.ciphered:
            if form is None:
                return self._not_possible(apdu, "an APDU in clear in an association with ciphering")
            return self._decipher(apdu, form, rooms)
        if form is not None:
            return self._not_possible(apdu, "a ciphered APDU in an association without ciphering")
        if context.client_sap == MANAGEMENT_CLIENT and credentials.policy() != Policy.NONE:
            return self._not_possible(apdu, "an APDU in clear where the security policy wants ciphering")
        return self._serve(apdu, None, len(apdu), rooms)

    def _serve(self, plain: bytes, envelope: Envelope | None, size: int, rooms: _Rooms) -> Answer:
        if envelope is not None:
            self.ciphering = envelope.form.label
        if self._observer.tracing:
            self._trace(plain, envelope, size, sent=False)
        if not self.associated:
            return self._second_step(plain, envelope)
        answer = self._services.handle(plain, rooms.of(envelope))
        if isinstance(answer, bytes):
            return self._answer(answer, envelope)
        self.acting = plain[0] != xdlms.GET_REQUEST
        return self._answer_later(answer, envelope)

    async def _answer_later(self, answer: Coroutine[Any, Any, bytes], envelope: Envelope | None) -> bytes:
        try:
            return self._answer(await answer, envelope)
        finally:
            self.acting = False

    def _answer(self, plain: bytes, envelope: Envelope | None) -> bytes:
        apdu = plain
        if envelope is not None and plain[0] != xdlms.EXCEPTION_RESPONSE:
            try:
                apdu = self._protection.cipher(plain, envelope)
            except (CounterError, DecipherError) as error:
                apdu = plain = self._unsendable(error)
                envelope = None
        if self._observer.tracing:
            self._trace(plain, None if apdu is plain else envelope, len(apdu), sent=True)
        if self.context.after_answer:
            self.settle()
        return apdu

    def _not_possible(self, apdu: bytes, reason: str) -> bytes:
        self._fail(reason)
        return self._in_clear(apdu, NOT_POSSIBLE)

    def _in_clear(self, apdu: bytes, answer: bytes) -> bytes:
        """An answer to an APDU that is not looked into."""
        if self._observer.tracing:
            self._trace(apdu, None, len(apdu), sent=False)
            self._trace(answer, None, len(answer), sent=True)
        return answer

    # General block transfer, around everything else

    def _take_block(self, apdu: bytes) -> Outcome:
        if not self.associated:
            return self._not_possible(apdu, "a request before the second step of HLS")
        if not self.context.conformance & Conformance.GENERAL_BLOCK_TRANSFER:
            self._fail("general block transfer was not negotiated")
            return self._in_clear(apdu, NOT_NEGOTIATED)
        self._in_blocks = True
        try:
            blocks, whole = self._transfer.receive(apdu)
            if whole is not None and (not whole or whole[0] in _NEVER_IN_BLOCKS):
                raise DecodeError("The general block transfer carries no request.")
        except DecodeError as error:
            _log.debug("%s sent a block that is not valid: %s", self.context.peer, error)
            self._fail("malformed general block transfer")
            return self._in_clear(apdu, MALFORMED)
        if self._observer.tracing:
            self._trace(apdu, None, len(apdu), sent=False)
            for block in blocks:
                self._trace(block, None, len(block), sent=True)
        if whole is None:
            return blocks
        answer = self._request(whole, _Rooms.within(self._transfer.answer_room(self._rooms.plain)))
        if isinstance(answer, bytes):
            return blocks + self._transfer.send(answer, self._rooms.plain)
        return self._blocks_later(answer)

    async def _blocks_later(self, answer: Coroutine[Any, Any, bytes]) -> list[bytes]:
        return self._transfer.send(await answer, self._rooms.plain)

    def _end_blocks(self) -> None:
        self._transfer.reset()
        self._in_blocks = False

    # Ciphering

    def _decipher(self, apdu: bytes, form: Ciphering, rooms: _Rooms) -> Answer:
        try:
            plain, envelope, accepted = self._protection.decipher(apdu, form)
        except (DecodeError, DecipherError, StaleCounterError, CounterError) as error:
            return self._in_clear(apdu, self._undeciphered(error))
        if accepted is not None:
            return self._serve_later(accepted, plain, envelope, len(apdu), rooms)
        return self._serve(plain, envelope, len(apdu), rooms)

    async def _serve_later(
        self, accepted: Awaitable[None], plain: bytes, envelope: Envelope, size: int, rooms: _Rooms
    ) -> bytes:
        try:
            await accepted
        except CounterError as error:
            return self._unsendable(error)
        answer = self._serve(plain, envelope, size, rooms)
        return answer if isinstance(answer, bytes) else await answer

    def _undeciphered(self, error: DecodeError | DecipherError | StaleCounterError | CounterError) -> bytes:
        """The answer to a ciphered APDU that is refused; tells the observer."""
        if isinstance(error, CounterError):
            return self._unsendable(error)
        context = self.context
        if isinstance(error, StaleCounterError):
            self._fail(f"stale invocation counter {error.counter}, the last was {error.last}")
            self._observer.replayed(
                context.peer, context.client_sap, context.addressed, error.counter, error.last
            )
            return STALE_COUNTER + error.last.to_bytes(4, "big")
        if isinstance(error, DecipherError):
            self._fail(f"not deciphered: {error}")
            self._observer.not_deciphered(context.peer, context.client_sap, context.addressed, str(error))
            return NOT_DECIPHERED
        self._fail("malformed ciphered APDU")
        _log.debug("%s sent a ciphered APDU that is not valid: %s", context.peer, error)
        return MALFORMED

    def _unsendable(self, error: CounterError | DecipherError) -> bytes:
        if not self._counter_trouble:
            self._counter_trouble = True
            _log.error("A request of %s cannot be answered: %s", self.context.peer, error)
        self._fail(str(error))
        return NOT_POSSIBLE

    # Opening and ending

    def _associate(self, apdu: bytes) -> Answer:
        try:
            request = acse.decode_aarq(apdu)
            if not request.ciphered:
                xdlms.decode_initiate_request(request.user_information)
        except DecodeError as error:
            _log.debug("%s sent an AARQ that is not valid: %s", self.context.peer, error)
            self._fail("malformed AARQ")
            return self._in_clear(apdu, MALFORMED)
        self._close()
        self.ciphering = "none"
        context = self.context
        context.ciphered = request.ciphered
        context.client_title = self._protection.client_title = request.calling_ap_title or b""
        context.errors, context.last_error = 0, ""
        if not decipherable(request, context.client_sap, self._credentials):
            return self._admitted(apdu, request.user_information, None, request)
        information = request.user_information
        form = security.INITIATE_CIPHERINGS.get(information[0]) if information else None
        try:
            if form is None:
                raise DecipherError("The InitiateRequest is not ciphered.")
            plain, envelope, accepted = self._protection.decipher(information, form)
        except (DecodeError, DecipherError, StaleCounterError, CounterError) as error:
            return self._in_clear(apdu, self._refused(Turn.REFUSED, str(error), self._undeciphered(error)))
        self.ciphering = form.label
        if accepted is not None:
            return self._admit_later(accepted, apdu, request, plain, envelope)
        return self._admitted(apdu, plain, envelope, request)

    async def _admit_later(
        self,
        accepted: Awaitable[None],
        apdu: bytes,
        request: AssociateRequest,
        plain: bytes,
        envelope: Envelope,
    ) -> bytes:
        try:
            await accepted
        except CounterError as error:
            return self._in_clear(apdu, self._refused(Turn.REFUSED, str(error), self._unsendable(error)))
        return self._admitted(apdu, plain, envelope, request)

    def _admitted(
        self, apdu: bytes, information: bytes, envelope: Envelope | None, request: AssociateRequest
    ) -> bytes:
        """The AARE, traced like the AARQ with the user information in clear."""
        answer = self._admit(request, information, envelope)
        accepted = self.turn is Turn.OPENED or self.turn is Turn.CHALLENGED
        if not accepted:
            self._fail(f"association refused: {self.reason}")
        if envelope is None:
            return self._in_clear(apdu, answer)
        if self._observer.tracing:
            self._trace(acse.with_user_information(apdu, information), envelope, len(apdu), sent=False)
            plain = answer
            if accepted:
                agreed = xdlms.initiate_response(self.context.conformance, self._limits.apdu)
                plain = acse.with_user_information(answer, agreed)
            self._trace(plain, envelope if accepted else None, len(answer), sent=True)
        return answer

    def _admit(self, request: AssociateRequest, information: bytes, envelope: Envelope | None) -> bytes:
        """The AARE; `information` is the plain InitiateRequest, unless it is refused without a look at it."""
        context = self.context
        known = context.directory.device(context.addressed) is not None
        diagnostic = judge(request, context.client_sap, known, self._credentials)
        if diagnostic is not Diagnostic.NULL:
            answer = acse.aare_rejected(diagnostic, ciphered=request.ciphered)
            return self._refused(Turn.DENIED, refusal(diagnostic), answer)
        try:
            initiate = xdlms.decode_initiate_request(information)
            if request.ciphered:
                self._protection.agree(initiate.dedicated_key or b"")
        except DecodeError as error:
            return self._refused(Turn.REFUSED, str(error), MALFORMED)
        unfit = _unfit(initiate)
        if unfit is not None:
            reason = xdlms.initiate_error(unfit)
            answer = acse.aare_rejected(Diagnostic.NO_REASON_GIVEN, reason, ciphered=request.ciphered)
            return self._refused(Turn.REFUSED, unfit.name.lower().replace("_", " "), answer)
        response = xdlms.initiate_response(initiate.conformance & SERVED, self._limits.apdu)
        try:
            agreed = response if envelope is None else self._protection.cipher(response, envelope)
        except CounterError as error:
            return self._refused(Turn.REFUSED, str(error), self._unsendable(error))
        self._agree(initiate, request.mechanism or Mechanism.NONE)
        high = context.mechanism == Mechanism.HIGH_GMAC
        challenge = self._challenge(request.authentication_value or b"") if high else b""
        title = self._credentials.system_title() if high or request.ciphered else b""
        self.associated, self._challenged = not high, high
        self.turn = Turn.CHALLENGED if high else Turn.OPENED
        return acse.aare_accepted(agreed, ciphered=request.ciphered, title=title, challenge=challenge)

    def _refused(self, turn: Turn, reason: str, answer: bytes) -> bytes:
        self.turn, self.reason = turn, reason
        return answer

    def _agree(self, initiate: InitiateRequest, mechanism: Mechanism) -> None:
        context, limit = self.context, self._limits.apdu
        self._rooms = _Rooms.within(min(initiate.client_pdu or limit, limit))
        management = context.client_sap == MANAGEMENT_CLIENT
        self._strength = strength(mechanism) if management else Level.HIGH
        context.select(context.addressed)
        context.learned.clear()
        context.mechanism = mechanism
        context.conformance = initiate.conformance & SERVED
        context.client_pdu = initiate.client_pdu
        context.server_pdu = limit

    def _challenge(self, client: bytes) -> bytes:
        """StoC, unlike CtoS: a client that sends back what it got must prove nothing with it."""
        challenge = secrets.token_bytes(CHALLENGE_SIZE)
        while challenge == client:
            challenge = secrets.token_bytes(CHALLENGE_SIZE)
        self._challenges = client, challenge
        return challenge

    def _second_step(self, plain: bytes, envelope: Envelope | None) -> bytes:
        """HLS: the client proves that it knows the keys, and so does the gateway (Green Book 9.2.7.4).

        StoC is fresh, so that the counter inside of f(StoC) may be any, also that of the APDU around it.
        """
        if plain[:2] != _ACTION_NORMAL or plain[3:14] != _REPLY_TO_HLS:
            self._fail("a request before the second step of HLS")
            return self._answer(NOT_POSSIBLE, envelope)
        invoke_id, answer = plain[2], plain[15:] if plain[14:15] == _PROOF_LENGTH else b""
        client, server = self._challenges
        if not self._protection.proves(server, answer):
            self._close()
            answer = bytes((*_REPLIED, invoke_id, DataAccessResult.READ_WRITE_DENIED, 0))
            reason = "authentication failure (wrong keys or system title)"
            return self._answer(self._refused(Turn.DENIED, reason, answer), envelope)
        try:
            proof = self._protection.prove(client)
        except CounterError as error:
            self._close()
            return self._answer(self._unsendable(error), envelope)
        self.associated, self._challenged, self.turn = True, False, Turn.OPENED
        answer = bytes((*_REPLIED, invoke_id, DataAccessResult.SUCCESS, 1, 0)) + octet_string(proof)
        return self._answer(answer, envelope)

    def _release(self, apdu: bytes) -> Answer:
        try:
            information = acse.decode_rlrq(apdu)
            if not (information and self.context.ciphered):
                self._close()
                return self._in_clear(apdu, acse.rlre())
            form = security.INITIATE_CIPHERINGS.get(information[0])
            if form is None:
                raise DecipherError("The user information of the RLRQ is not ciphered.")
            plain, envelope, accepted = self._protection.decipher(information, form)
            xdlms.decode_initiate_request(plain)
        except (DecodeError, DecipherError, StaleCounterError, CounterError) as error:
            return self._in_clear(apdu, self._undeciphered(error))
        if accepted is not None:
            return self._released_later(accepted, apdu, envelope)
        return self._released(apdu, envelope)

    async def _released_later(self, accepted: Awaitable[None], apdu: bytes, envelope: Envelope) -> bytes:
        try:
            await accepted
        except CounterError as error:
            return self._in_clear(apdu, self._unsendable(error))
        return self._released(apdu, envelope)

    def _released(self, apdu: bytes, envelope: Envelope) -> bytes:
        response = xdlms.initiate_response(self.context.conformance, self._limits.apdu)
        self._close()
        try:
            answer = acse.rlre(self._protection.cipher(response, envelope))
        except CounterError as error:
            answer = self._unsendable(error)
        return self._in_clear(apdu, answer)

    def _close(self) -> None:
        if self.associated or self._challenged:
            self.turn = Turn.ENDED
        self.associated = self._challenged = False
        self._services.reset()
        self._end_blocks()

    # Telling

    def _fail(self, reason: str) -> None:
        self.context.errors += 1
        self.context.last_error = reason

    def _trace(self, apdu: bytes, envelope: Envelope | None, size: int, *, sent: bool) -> None:
        context = self.context
        self._observer.apdu(
            context.peer, context.client_sap, context.addressed, apdu,
            sent=sent, protection=envelope.label if envelope else "", size=size,
        )  # fmt: skip


def _unfit(initiate: InitiateRequest) -> InitiateError | None:
    """Why the proposed context cannot work, if it cannot."""
    if initiate.version < xdlms.DLMS_VERSION:
        return InitiateError.DLMS_VERSION_TOO_LOW
    if not initiate.conformance & SERVED & _USEFUL:
        return InitiateError.INCOMPATIBLE_CONFORMANCE
    if 0 < initiate.client_pdu < xdlms.SMALLEST_PDU:
        return InitiateError.PDU_SIZE_TOO_SHORT
    return None
