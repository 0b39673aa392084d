"""ristretto255 and OPRF(ristretto255, SHA-512) in plain Python, for opaque.py, written from RFC 9496, RFC 9497, RFC 9380
(expand_message) and RFC 5869 (HKDF) alone. Not for any other use: nothing here takes the same time for every secret."""

import hashlib
import hmac

# ---------------------------------------------------------------- the field and the curve (RFC 9496 section 4.1, RFC 8032)

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = 37095705934669439343138083508754565189542113879843219016388785533085940283555
SQRT_M1 = 19681161376707505956807079304988542015446066515923890162744021073123829784752
SQRT_AD_MINUS_ONE = 25063068953384623474111414158702152701244531502492656460079210482610430750235
INVSQRT_A_MINUS_D = 54469307008909316920995813868745141605393597292927456921205312896311721017578
ONE_MINUS_D_SQ = 1159843021668779879193775521855586647937357759715417654439879720876111806838
D_MINUS_ONE_SQ = 40440834346308536858101042469323190826248399146238708352240133220865137265952


class Refused(Exception):
    """What the RFCs have a side refuse"""


def negative(x):
    return x % P % 2 == 1


def absolute(x):
    return -x % P if negative(x) else x % P


def sqrt_ratio(u, v):
    """Section 4.2: whether u/v is a square, and its root (or that of SQRT_M1 * u/v), not negative"""
    r = u * v**3 * pow(u * v**7, (P - 5) // 8, P) % P
    check, u = v * r * r % P, u % P
    if check in (-u % P, -u * SQRT_M1 % P):
        r = r * SQRT_M1 % P
    return check in (u, -u % P), absolute(r)


def add(a, b):
    """In extended coordinates (RFC 8032 section 5.1.4)"""
    A, B = (a[1] - a[0]) * (b[1] - b[0]) % P, (a[1] + a[0]) * (b[1] + b[0]) % P
    C, Z = 2 * a[3] * b[3] * D % P, 2 * a[2] * b[2] % P
    E, F, G, H = B - A, Z - C, Z + C, B + A
    return E * F % P, G * H % P, F * G % P, E * H % P


def multiply(scalar, point):
    product = (0, 1, 1, 0)
    for bit in bin(scalar)[2:]:
        product = add(product, product)
        if bit == "1":
            product = add(product, point)
    return product


# ---------------------------------------------------------------- ristretto255 (RFC 9496 section 4.3)


def decode(encoded):
    """Section 4.3.1; and no identity (RFC 9497 section 2.1)"""
    s = int.from_bytes(encoded, "little")
    if len(encoded) != 32 or s >= P or negative(s):
        raise Refused("not canonical")
    u1, u2 = (1 - s * s) % P, (1 + s * s) % P
    v = (-D * u1 * u1 - u2 * u2) % P
    was_square, invsqrt = sqrt_ratio(1, v * u2 * u2 % P)
    den_x = invsqrt * u2 % P
    x, y = absolute(2 * s * den_x), u1 * invsqrt * den_x * v % P
    if not was_square or negative(x * y) or y == 0:
        raise Refused("no element")
    if s == 0:
        raise Refused("the identity")
    return x, y, 1, x * y % P


def encode(point):
    """Section 4.3.2"""
    x0, y0, z0, t0 = point
    u1, u2 = (z0 + y0) * (z0 - y0) % P, x0 * y0 % P
    invsqrt = sqrt_ratio(1, u1 * u2 * u2 % P)[1]
    den1, den2 = invsqrt * u1 % P, invsqrt * u2 % P
    z_inv = den1 * den2 * t0 % P
    x, y, den_inv = x0, y0, den2
    if negative(t0 * z_inv):
        x, y, den_inv = y0 * SQRT_M1, x0 * SQRT_M1, den1 * INVSQRT_A_MINUS_D
    if negative(x * z_inv):
        y = -y
    return absolute(den_inv * (z0 - y)).to_bytes(32, "little")


def one_way_map(uniform):
    """Section 4.3.4"""
    return add(*(map_half(int.from_bytes(half, "little") % 2**255) for half in (uniform[:32], uniform[32:])))


def map_half(t):
    r = SQRT_M1 * t * t % P
    u, v = (r + 1) * ONE_MINUS_D_SQ % P, (-1 - r * D) * (r + D) % P
    was_square, s = sqrt_ratio(u, v)
    s, c = (s, -1) if was_square else (-absolute(s * t), r)
    n = c * (r - 1) * D_MINUS_ONE_SQ - v
    w0, w1, w2, w3 = 2 * s * v, n * SQRT_AD_MINUS_ONE, 1 - s * s, 1 + s * s
    return w0 * w3 % P, w2 * w1 % P, w1 * w3 % P, w0 * w2 % P


BASE = decode(bytes.fromhex("e2f2ae0a6abc4e71a884a961c500515f58e30b6aa582dd8db6a65945e08d2d76"))


# ---------------------------------------------------------------- hashes (RFC 9380 section 5.3.1, RFC 5869)


def sha512(*parts):
    return hashlib.sha512(b"".join(parts)).digest()


def mac(key, *parts):
    return hmac.new(key, b"".join(parts), "sha512").digest()


def u16(n):
    return n.to_bytes(2, "big")


def lp(x):
    return u16(len(x)) + x


def expand_message(message, dst):
    """expand_message_xmd with SHA-512, 64 bytes: a single block"""
    dst += bytes([len(dst)])
    return sha512(sha512(bytes(128), message, u16(64), b"\0", dst), b"\1", dst)


def extract(ikm):
    return mac(bytes(64), ikm)


def expand(key, info, n):
    out, block = b"", b""
    while len(out) < n:
        block = mac(key, block, info, bytes([len(out) // 64 + 1]))
        out += block
    return out[:n]


# ---------------------------------------------------------------- OPRF(ristretto255, SHA-512), mode 0 (RFC 9497)

CONTEXT_STRING = b"OPRFV1-\x00-ristretto255-SHA512"


def hash_to_group(message):
    """Section 4.1"""
    return one_way_map(expand_message(message, b"HashToGroup-" + CONTEXT_STRING))


def derive_key(seed, info):
    """DeriveKeyPair, section 3.2.1: the private key"""
    for counter in range(256):
        wide = expand_message(seed + lp(info) + bytes([counter]), b"DeriveKeyPair" + CONTEXT_STRING)
        if key := int.from_bytes(wide, "little") % L:
            return key
    raise Refused("no key")


def oprf_output(message, blind, evaluated):
    """Finalize, section 3.3.1"""
    return sha512(lp(message), lp(encode(multiply(pow(blind, -1, L), decode(evaluated)))), b"Finalize")
