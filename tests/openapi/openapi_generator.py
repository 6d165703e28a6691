"""Makes, verifies and revokes a key by the client that openapi-generator has generated."""

import os

from keyledger_client import (
    ApiClient,
    ApiKeyCreateRequest,
    ApiKeysApi,
    Configuration,
    RevokeRequest,
    VerificationApi,
    VerifyRequest,
)
from keyledger_client.exceptions import ApiException

url, organization = os.environ["KEYLEDGER_URL"], os.environ["KEYLEDGER_ORGANIZATION"]
configuration = Configuration(host=url, access_token=os.environ["KEYLEDGER_KEY"])
client = ApiClient(configuration)
keys, verification = ApiKeysApi(client), VerificationApi(client)
body = ApiKeyCreateRequest(
    name="CI", scopes=["cases:read"], expires_in_days=30, metadata={"team": "build"}
)
made = keys.api_keys_create(organization, body)
assert made.key.metadata == {"team": "build"} and made.key.ended is None, made
assert made.key.expires_at > made.key.created_at, made


def verified():
    return verification.verification_verify(
        VerifyRequest(key=made.raw_key, required_scopes=["cases:read"])
    )


good = verified()
assert good.valid and good.code == "valid" and good.key.id == made.key.id, good
revoked = keys.api_keys_revoke(
    organization, made.key.id, revoke_request=RevokeRequest(reason="done")
)
assert revoked.status == "revoked" and revoked.ended.reason == "done", revoked
bad = verified()
assert not bad.valid and bad.code == "revoked" and bad.key.name is None, bad
listed = keys.api_keys_list(organization, limit=10)
assert made.key.id in [key.id for key in listed], listed
try:
    keys.api_keys_show(organization, "key_01KQ01SD60AADFP7C33DS9A67N")
except ApiException as refused:
    assert refused.status == 404, refused
    assert refused.data.code == "not_found", refused.data
else:
    raise AssertionError("it was found")
print("made, verified and revoked")
