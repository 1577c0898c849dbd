"""One application association: a pure machine that turns request APDUs into answer APDUs (Green Book 9.4).

It does no I/O. An answer that needs something slow is a coroutine, which whoever owns the connection runs.
"""

from __future__ import annotations

import logging

from core.cosem.base import Context, DeviceDirectory
from core.dlms import acse, xdlms
from core.dlms.acse import Diagnostic
from core.dlms.admission import Credentials, judge
from core.dlms.errors import DecodeError
from core.dlms.limits import ServerLimits
from core.dlms.services import MALFORMED, NOT_POSSIBLE, SERVED, Answer, Services, Wait
from core.dlms.xdlms import Conformance, InitiateError

_log = logging.getLogger(__name__)


class Association:
    """The association of one client SAP with one server SAP on one connection."""

    def __init__(
        self,
        client_sap: int,
        server_sap: int,
        peer: str,
        directory: DeviceDirectory,
        credentials: Credentials,
        limits: ServerLimits,
        wait: Wait,
    ) -> None:
        self.context = Context(client_sap, server_sap, peer, directory)
        self.associated = False
        self._credentials = credentials
        self._limits = limits
        self._pdu = limits.apdu  # largest answer
        self._services = Services(self.context, limits, wait)

    def associate(self, apdu: bytes) -> tuple[bytes, Diagnostic]:
        """Take an AARQ: the AARE, and `Diagnostic.NULL` if it accepts. An association that was open ends.

        Raises `DecodeError`.
        """
        request = acse.decode_aarq(apdu)
        initiate = xdlms.decode_initiate_request(request.user_information)
        self._close()
        context = self.context
        known = context.directory.device(context.addressed) is not None
        diagnostic = judge(request, context.client_sap, known, self._credentials)
        if diagnostic is not Diagnostic.NULL:
            return acse.aare_rejected(diagnostic), diagnostic
        conformance = initiate.conformance & SERVED
        error: InitiateError | None = None
        if initiate.version < xdlms.DLMS_VERSION:
            error = InitiateError.DLMS_VERSION_TOO_LOW
        elif not conformance & (Conformance.GET | Conformance.SET):
            error = InitiateError.INCOMPATIBLE_CONFORMANCE
        elif 0 < initiate.client_pdu < xdlms.SMALLEST_PDU:
            error = InitiateError.PDU_SIZE_TOO_SHORT
        if error is not None:
            diagnostic = Diagnostic.NO_REASON_GIVEN
            return acse.aare_rejected(diagnostic, xdlms.initiate_error(error)), diagnostic
        self._pdu = min(initiate.client_pdu or self._limits.apdu, self._limits.apdu)
        context.select(context.addressed)
        context.mechanism = request.mechanism or 0
        context.conformance = conformance
        context.client_pdu = initiate.client_pdu
        context.server_pdu = self._limits.apdu
        self.associated = True
        return acse.aare_accepted(xdlms.initiate_response(conformance, self._limits.apdu)), diagnostic

    def handle(self, apdu: bytes) -> Answer:
        """The answer to any APDU but an AARQ; a coroutine if it needs something slow. Never raises."""
        if not self.associated:
            return NOT_POSSIBLE
        if apdu[0] != acse.RLRQ:
            return self._services.handle(apdu, self._pdu)
        try:
            return self._release(apdu)
        except DecodeError as error:
            _log.debug("%s sent an APDU that is not valid: %s", self.context.peer, error)
            return MALFORMED

    def _close(self) -> None:
        self.associated = False
        self._services.reset()

    def _release(self, apdu: bytes) -> bytes:
        acse.decode_rlrq(apdu)
        self._close()
        return acse.rlre()
