"""What the API says of itself is what it does: requests made at random from its OpenAPI document find nothing."""

import pytest
import schemathesis
from hypothesis import HealthCheck, settings

from safelight.web.app import build
from safelight.web.limits import ServerLimits
from safelight.web.parse_request import TYPES
from safelight.web.request_fields import fields_of, verbs
from safelight.web.server import LOOPBACK
from support.server import running

for kind in TYPES.values():

    @schemathesis.serializer(kind)
    def plain(context, value):
        return bytes(value) if isinstance(value, bytes | bytearray) else str(value).encode()


document = build(ServerLimits(), hosts=LOOPBACK, device="cpu").api.openapi()
schema = schemathesis.openapi.from_dict(document)


@pytest.fixture(scope="module")
def patient():
    """A server that lets one address have much, and works on nothing for long."""
    with running(each=1000, seconds=2, patience=2) as made:
        yield made


# A schema can't say that bytes are a picture, nor which options belong to which method: a 422 is a right answer to what
# has the right shape.
SAID = [schemathesis.checks.positive_data_acceptance]


@schema.parametrize()
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
def test_requests_made_from_the_document(case, patient):
    case.call_and_validate(base_url=patient.url, excluded_checks=SAID)


def test_the_document_has_every_field(server):
    told = server.client.get("/openapi.json").json()
    for verb in verbs():
        operation = told["paths"][f"/api/v1/{verb}"]["post"]
        said = {each["name"] for each in operation["parameters"] if each["in"] == "query"}
        form = operation["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]
        assert {"picture", *fields_of(verb)} == form.keys()
        assert said == {name for name, field in fields_of(verb).items() if field.kind not in ("picture", "pictures")}
