"""Introspects and revokes by Authlib, which does not encode Basic, and by one that does.

Arguments: the server's URL; the id and the token of the client; four tokens to end.
"""

import sys
from urllib.parse import quote_plus

import requests
from authlib.integrations.requests_client import OAuth2Session

url, client_id, secret, first, second, third, fourth = sys.argv[1:]
metadata = requests.get(f"{url}/.well-known/oauth-authorization-server", timeout=30).json()
introspect, revoke = metadata["introspection_endpoint"], metadata["revocation_endpoint"]


def encoded(text):
    """As RFC 6749, 2.3.1, asks, and even what need not be."""
    return quote_plus(text).replace("_", "%5F")


def check(name, identity, password, token, method="client_secret_basic"):
    assert method in metadata["introspection_endpoint_auth_methods_supported"], method
    assert method in metadata["revocation_endpoint_auth_methods_supported"], method
    session = OAuth2Session(identity, password, token_endpoint_auth_method=method)
    told = session.introspect_token(introspect, token=token).json()
    assert told["active"] is True and told["token_type"] == "Bearer", (name, told)
    assert told["iss"] == metadata["issuer"] and told["scope"] == "cases:read", (name, told)
    ended = session.revoke_token(revoke, token=token)
    assert ended.status_code == 200 and ended.content == b"", (name, ended.content)
    told = session.introspect_token(introspect, token=token).json()
    assert told == {"active": False}, (name, told)
    assert session.revoke_token(revoke, token="unknown").status_code == 200, name
    wrong = OAuth2Session(identity, "wrong", token_endpoint_auth_method=method)
    refused = wrong.introspect_token(introspect, token=token)
    assert refused.status_code == 401 and refused.json()["error"] == "invalid_client", name


check("not encoding", client_id, secret, first)
check("encoding", encoded(client_id), encoded(secret), second)
check("in the form", client_id, secret, fourth, "client_secret_post")
holder = OAuth2Session("", token_endpoint_auth_method="none")
assert holder.revoke_token(revoke, token=third).status_code == 200
session = OAuth2Session(client_id, secret, token_endpoint_auth_method="client_secret_basic")
assert session.introspect_token(introspect, token=third).json() == {"active": False}
print("ok")
