"""The fleet server's door."""

from littoral.errors.base import LittoralError


class FleetError(LittoralError):
    """Base of what a fleet server answers with."""


class ServerUnreachableError(FleetError):
    """No fleet server answers there."""

    code = "server-unreachable"


class BrokerError(FleetError):
    """The fleet server's own broker cannot be started."""

    code = "broker"
    default_remedy = "See DATA/broker/broker.log; --broker-listen chooses another address, --broker another broker."


class UnauthorizedError(FleetError):
    """The API token is missing or not valid."""

    code = "unauthorized"
    default_remedy = "Give --token or LITTORAL_TOKEN; `littoral-fleet init` left one in DATA/admin-token."


class NotFoundError(FleetError):
    """No such device, model, release or rollout."""

    code = "not-found"


class ConflictError(FleetError):
    """It contradicts what is there."""

    code = "conflict"


class BadRequestError(FleetError):
    """A request that cannot be read or makes no sense."""

    code = "bad-request"


class TokenUnknownError(FleetError):
    """An enrolment token that this fleet server never made."""

    code = "token-unknown"
    default_remedy = "`littoral-fleet token create` makes one."


class TokenUsedError(FleetError):
    """An enrolment token that was used before."""

    code = "token-used"
    default_remedy = "A token serves once: `littoral-fleet token create` makes another."


class TokenExpiredError(FleetError):
    """An enrolment token past its time."""

    code = "token-expired"
    default_remedy = "`littoral-fleet token create` makes another."


class NameTakenError(FleetError):
    """A device of this name is enrolled already."""

    code = "name-taken"
    default_remedy = "Choose another --name, or leave it out."


class RootMismatchError(FleetError):
    """The server's root.json is not the one the token names."""

    code = "root-mismatch"
    default_remedy = "This is another server, or somebody is in between: do not enrol; get a new token."
