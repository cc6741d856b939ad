#!/usr/bin/python3
"""An OAuth 2 server on loopback: Authlib's authorization server (RFC 6749, 7636, 7662's and RFC 8628's endpoints), as its manual sets it up.

    provider.py PORT USER LIFETIME

All that is written here is where things are kept (in memory), who consents (USER, by a form), and what its log has: one line of JSON for each
token. Access tokens last LIFETIME seconds; refresh tokens change with each use, and one that is used again ends the whole grant.
"""
import json
import logging
import os
import sys
import time

os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"  # loopback

from authlib.integrations.flask_oauth2 import AuthorizationServer, ResourceProtector
from authlib.oauth2.rfc6749 import ClientMixin, TokenMixin, grants
from authlib.oauth2.rfc6750 import BearerTokenValidator
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oauth2.rfc8628 import DEVICE_CODE_GRANT_TYPE, DeviceAuthorizationEndpoint, DeviceCodeGrant, DeviceCredentialDict
from flask import Flask, jsonify, request

PORT, USER, LIFETIME = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])


class Client(ClientMixin):
    def get_client_id(self):
        return "mailroom"

    def get_default_redirect_uri(self):
        return None

    def get_allowed_scope(self, scope):
        return " ".join(word for word in scope.split() if word in ("mail", "offline"))

    def check_redirect_uri(self, uri):
        # RFC 8252 §7.3: any port
        return uri.startswith("http://127.0.0.1:")

    def check_client_secret(self, secret):
        return secret == "s3cret"

    def check_endpoint_auth_method(self, method, endpoint):
        return method == "client_secret_post" if endpoint == "token" else True

    def check_response_type(self, kind):
        return kind == "code"

    def check_grant_type(self, kind):
        return kind in ("authorization_code", "refresh_token", DEVICE_CODE_GRANT_TYPE)


class Token(TokenMixin):
    def __init__(self, fields, family):
        self.fields, self.family = fields, family
        self.until, self.used, self.revoked = time.time() + fields["expires_in"], False, False

    def check_client(self, client):
        return True

    def get_scope(self):
        return self.fields["scope"]

    def get_expires_in(self):
        return self.fields["expires_in"]

    def is_expired(self):
        return time.time() > self.until

    def is_revoked(self):
        return self.revoked


class Code(dict):
    def get_redirect_uri(self):
        return self["redirect_uri"]

    def get_scope(self):
        return self["scope"]


CLIENT, TOKENS, CODES, DEVICES, CONSENTS = Client(), [], {}, {}, {}


def save_token(fields, asked):
    old = asked.credential if isinstance(asked.credential, Token) else None
    TOKENS.append(Token(fields, old.family if old else len(TOKENS)))
    print(json.dumps({"grant_type": asked.form["grant_type"], "scope": fields["scope"]}), flush=True)


class AuthorizationCode(grants.AuthorizationCodeGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = ["client_secret_post"]

    def save_authorization_code(self, code, asked):
        given = {name: asked.data.get(name) for name in ("code_challenge", "code_challenge_method")}
        CODES[code] = Code(redirect_uri=asked.redirect_uri, scope=asked.scope, **given)
        CODES[code].code_challenge, CODES[code].code_challenge_method = given.values()

    def query_authorization_code(self, code, client):
        return CODES.get(code)

    def delete_authorization_code(self, code):
        CODES.pop(next(name for name, kept in CODES.items() if kept is code))

    def authenticate_user(self, code):
        return USER


class Refresh(grants.RefreshTokenGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = ["client_secret_post"]
    INCLUDE_NEW_REFRESH_TOKEN = True

    def authenticate_refresh_token(self, text):
        token = next((token for token in TOKENS if token.fields["refresh_token"] == text), None)
        if token is None or token.revoked:
            return None
        if token.used:
            # RFC 6819 §5.2.2.3
            for each in TOKENS:
                each.revoked |= each.family == token.family
            print(json.dumps({"reused": True}), flush=True)
            return None
        return token

    def authenticate_user(self, token):
        return USER

    def revoke_old_credential(self, token):
        token.used = True


class Device(DeviceCodeGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = ["client_secret_post"]

    def query_device_credential(self, code):
        return DEVICES.get(code)

    def query_user_grant(self, user_code):
        return CONSENTS.get(user_code)

    def should_slow_down(self, credential):
        last, credential["last"] = credential.get("last", 0), time.time()
        return time.time() - last < 0.9


class DevicePage(DeviceAuthorizationEndpoint):
    INTERVAL = 1

    def get_verification_uri(self):
        return f"http://127.0.0.1:{PORT}/activate"

    def save_device_credential(self, client_id, scope, data):
        DEVICES[data["device_code"]] = DeviceCredentialDict(client_id=client_id, scope=scope, expires_at=time.time() + data["expires_in"], **data)


class Shown(BearerTokenValidator):
    def authenticate_token(self, text):
        return next((token for token in TOKENS if token.fields["access_token"] == text), None)


app = Flask("provider")
app.config["OAUTH2_REFRESH_TOKEN_GENERATOR"] = True
app.config["OAUTH2_TOKEN_EXPIRES_IN"] = dict.fromkeys(["authorization_code", "refresh_token", DEVICE_CODE_GRANT_TYPE], LIFETIME)
server = AuthorizationServer(app, lambda name: CLIENT if name == "mailroom" else None, save_token)
server.register_grant(AuthorizationCode, [CodeChallenge(required=True)])
server.register_grant(Refresh)
server.register_grant(Device)
server.register_endpoint(DevicePage)
protected = ResourceProtector()
protected.register_token_validator(Shown())


@app.post("/token")
def token():
    return server.create_token_response()


@app.post("/device")
def device():
    return server.create_endpoint_response(DevicePage.ENDPOINT_NAME)


@app.get("/activate")
def activate():
    CONSENTS[request.args["user_code"]] = (USER, request.args.get("consent", "yes") == "yes")
    return "Done."


@app.get("/authorize")
def authorize():
    server.get_consent_grant(end_user=USER)
    return server.create_authorization_response(grant_user=USER)


@app.get("/userinfo")
@protected("mail")
def userinfo():
    return jsonify(sub=USER, active="true")


@app.post("/revoke-all")
def revoke_all():
    for each in TOKENS:
        each.revoked = True
    return ""


logging.getLogger("werkzeug").setLevel(logging.ERROR)
app.run("127.0.0.1", PORT)
