# libpq 18 by itself, with OAUTHBEARER: asks the gate where to get a token, gets one from the hook that a program sets for
# it, and connects with that.
#
# oauth.py LIBPQ CONNINFO ISSUER TOKEN: prints what the hook was asked and what the gate answered; ends with 0 if it let us in.
import ctypes
import os
import sys

path, conninfo, issuer, token = sys.argv[1:]
os.environ['PGOAUTHDEBUG'] = 'UNSAFE'  # plain http to an issuer on this machine


class Request(ctypes.Structure):
    _fields_ = [
        ('openid_configuration', ctypes.c_char_p), ('scope', ctypes.c_char_p), ('poll', ctypes.c_void_p),
        ('cleanup', ctypes.c_void_p), ('token', ctypes.c_char_p), ('user', ctypes.c_void_p),
    ]


BEARER_TOKEN = 1
Hook = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)


@Hook
def hook(kind, connection, data):
    if kind != BEARER_TOKEN:
        return 0
    request = ctypes.cast(data, ctypes.POINTER(Request)).contents
    print('discovery', request.openid_configuration.decode())
    print('scope', request.scope.decode())
    request.token = token.encode()
    return 1


libpq = ctypes.CDLL(path)
libpq.PQconnectdb.restype = libpq.PQexec.restype = ctypes.c_void_p
libpq.PQgetvalue.restype = libpq.PQerrorMessage.restype = ctypes.c_char_p
libpq.PQstatus.argtypes = libpq.PQerrorMessage.argtypes = [ctypes.c_void_p]
libpq.PQexec.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
libpq.PQgetvalue.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_int]
print('libpq', libpq.PQlibVersion())
libpq.PQsetAuthDataHook(hook)
connection = libpq.PQconnectdb(
    f"{conninfo} oauth_issuer={issuer} oauth_client_id=agent options='-c postern.auth=oauth' require_auth=oauth".encode())
if libpq.PQstatus(connection) != 0:
    print(libpq.PQerrorMessage(connection).decode())
    sys.exit(1)
print('answer', libpq.PQgetvalue(libpq.PQexec(connection, b'select 40 + 2'), 0, 0).decode())
