"""Makes, verifies and revokes a key by the client that openapi-python-client has generated."""

import os

from keyledger_client import AuthenticatedClient
from keyledger_client.api.api_keys import (
    api_keys_create,
    api_keys_list,
    api_keys_revoke,
)
from keyledger_client.api.verification import verification_verify
from keyledger_client.models import (
    ApiKeyCreateRequest,
    Metadata,
    ProblemBody,
    RevokeRequest,
    VerifyRequest,
)

url, organization = os.environ["KEYLEDGER_URL"], os.environ["KEYLEDGER_ORGANIZATION"]
client = AuthenticatedClient(base_url=url, token=os.environ["KEYLEDGER_KEY"])
metadata = Metadata.from_dict({"team": "build"})
body = ApiKeyCreateRequest(
    name="CI", scopes=["cases:read"], expires_in_days=30, metadata=metadata
)
made = api_keys_create.sync(organization, client=client, body=body)
assert made.key.metadata["team"] == "build" and made.key.ended is None, made
assert made.key.expires_at > made.key.created_at, made


def verified():
    body = VerifyRequest(key=made.raw_key, required_scopes=["cases:read"])
    return verification_verify.sync(client=client, body=body)


good = verified()
assert good.valid and good.code == "valid" and good.key.id == made.key.id, good
revoked = api_keys_revoke.sync(
    organization, made.key.id, client=client, body=RevokeRequest(reason="done")
)
assert revoked.status == "revoked" and revoked.ended.reason == "done", revoked
bad = verified()
assert not bad.valid and bad.code == "revoked" and bad.key.name is None, bad
listed = api_keys_list.sync(organization, client=client, limit=10)
assert made.key.id in [key.id for key in listed], listed
wrong = ApiKeyCreateRequest(name="", scopes=["cases:read"])
refused = api_keys_create.sync(organization, client=client, body=wrong)
assert isinstance(refused, ProblemBody), refused
assert refused.code == "field_empty" and refused.errors[0].field == "name", refused
print("made, verified and revoked")
