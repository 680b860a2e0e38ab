"""Which properties of librdkafka a settings file may contain: those that cannot hold a secret.

librdkafka's secrets are properties of SASL, TLS and HTTPS. Of these families a file may contain only the properties
listed here: a secret that a later librdkafka adds is rejected without a change here. Of all other families a file may
contain any property whose name does not sound like a secret.
"""

_GUARDED_FAMILIES = ("sasl", "ssl", "https")
_SECRET_WORDS = ("password", "passphrase", "secret", "credential", "token", "jaas", "private", "pem")
_PUBLIC = frozenset(
    {
        "sasl.mechanism",
        "sasl.mechanisms",
        "sasl.username",
        "sasl.kerberos.keytab",
        "sasl.kerberos.min.time.before.relogin",
        "sasl.kerberos.principal",
        "sasl.kerberos.service.name",
        "sasl.oauthbearer.assertion.algorithm",
        "sasl.oauthbearer.assertion.claim.aud",
        "sasl.oauthbearer.assertion.claim.exp.seconds",
        "sasl.oauthbearer.assertion.claim.iss",
        "sasl.oauthbearer.assertion.claim.jti.include",
        "sasl.oauthbearer.assertion.claim.nbf.seconds",
        "sasl.oauthbearer.assertion.claim.sub",
        "sasl.oauthbearer.assertion.file",
        "sasl.oauthbearer.assertion.jwt.template.file",
        "sasl.oauthbearer.assertion.private.key.file",
        "sasl.oauthbearer.client.credentials.client.id",
        "sasl.oauthbearer.client.id",
        "sasl.oauthbearer.extensions",
        "sasl.oauthbearer.grant.type",
        "sasl.oauthbearer.metadata.authentication.type",
        "sasl.oauthbearer.method",
        "sasl.oauthbearer.scope",
        "sasl.oauthbearer.sub.claim.name",
        "sasl.oauthbearer.token.endpoint.url",
        "ssl.ca.certificate.stores",
        "ssl.ca.location",
        "ssl.ca.pem",
        "ssl.certificate.location",
        "ssl.certificate.pem",
        "ssl.cipher.suites",
        "ssl.crl.location",
        "ssl.curves.list",
        "ssl.endpoint.identification.algorithm",
        "ssl.engine.id",
        "ssl.engine.location",
        "ssl.key.location",
        "ssl.keystore.location",
        "ssl.providers",
        "ssl.sigalgs.list",
        "https.ca.location",
        "https.ca.pem",
    }
)
"""Names, addresses, algorithms, certificates and paths of files. `sasl.oauthbearer.config` and
`sasl.kerberos.kinit.cmd` are missing: their text may contain a password."""


def may_hold_secret(name: str, value: str = "") -> bool:
    """Return whether a property may hold a secret.

    Args:
        name: the property, such as `sasl.password`.
        value: its value. An address with a user name or a query may hold a password or a token.
    """
    if name in _PUBLIC:
        return name.endswith(".url") and any(character in value for character in "@?")
    return name.startswith(_GUARDED_FAMILIES) or any(word in name for word in _SECRET_WORDS)
