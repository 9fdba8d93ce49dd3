/* media_type: what a file's name says of its content. Pure; any thread. */
#pragma once
#include "base/bytes.h"

/* "html" (without the dot, in any case) ─▶ "text/html; charset=utf-8"; empty: not known. */
struct bytes media_type_of(struct bytes extension);
