/* answer: what the origin answers to which path.
 *
 *      /, any other         200, --body bytes               /close            200, then closes
 *      /bytes/N             N bytes, Content-Length         /abort            closes without an answer
 *      /chunked/N/PIECE     N bytes in chunks of PIECE      /reset            the same with a TCP reset
 *      /trailers/N          chunked, with trailers          /half/N           says N bytes, closes after N /
 * 2 /stream/N            N bytes that end with the       /hang             never answers connection
 * /trickle/N/MS     N bytes, one every MS /delay/MS            answers after MS                /early 103,
 * then 200 /status/CODE         that status                     /healthz          200, or 503 when told to
 * fail /echo                the request as JSON             /headers          the request's head as it came
 *      /raw                 the request's body is the       /headers/N        N more fields in the answer
 *                           answer, byte for byte           /_count           counters as JSON; ?reset
 *      /_control?health=ok|fail&hang=on|off&abort=on|off&close=on|off&delay=MS&status=CODE&all
 *                           how this listener (all: every one) behaves from now on; status=0, delay=0:
 * normally
 *
 * Requests to paths that begin with /_ are not counted and behave normally always. */
#pragma once
#include "test/origin/connection.h"

/* Decides, when the head is there; may write (100 Continue). r lives only as long as the call. */
void answer_plan(struct connection *c, const struct request *r);
/* A piece of the request's body. */
void answer_take_body(struct connection *c, struct bytes piece);
/* Begins the answer when the request is all there: writes its head and sets phase and source. */
void answer_start(struct connection *c);
/* 400 and the end of the connection. */
void answer_malformed(struct connection *c, const char *mistake);
