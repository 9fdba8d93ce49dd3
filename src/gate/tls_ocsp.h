/* tls_ocsp: asks responders for the OCSP answers that go with certificates (net/tls_staple.h, RFC 6960 A.1:
 * POST over HTTP): in fibers of the control worker, one for each question, a few at a time. */
#pragma once
#include <stdbool.h>

/* Begins to ask what is due. told: of each question, how it went. */
void tls_ocsp_look(void (*told)(bool fine));
