/* order_id: the URLs of orders. One worker. */
#pragma once
#include "base/arena.h"

/* front, and the id as a segment of a path (RFC 3986 2.1). ptr NULL: the arena has no more. */
struct bytes order_id_url(struct bytes front, struct bytes id, struct arena *a);
