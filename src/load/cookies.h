/* cookies: what one virtual user was given, kept as the Cookie field that goes back (RFC 6265).
 *
 *      Set-Cookie: SID=31d4; Path=/; Secure      ─▶   Cookie: SID=31d4; lang=en
 *
 * All of them go to the one server that a scenario talks to: Domain, Path and Secure are not looked at. A
 * cookie ends with Max-Age of 0 or less, or an Expires in 1970. One
 * thread. */
#pragma once
#include "base/text.h"

#define COOKIES_BYTES_MAX 8192u

struct cookies {
    struct text field; /* "a=b; c=d"; empty: none */
};

/* The value of a Set-Cookie field. What is no cookie, or would make the field too long, is passed over. */
void cookies_take(struct cookies *c, struct bytes set_cookie);
/* ptr NULL: there is none. */
struct bytes cookies_find(const struct cookies *c, struct bytes name);
void cookies_close(struct cookies *c);
