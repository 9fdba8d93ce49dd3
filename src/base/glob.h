/* glob: patterns of names as Redis' KEYS and SCAN have them: * ? [abc] [^a-z] and \ before what is meant as
 * it is. Pure; takes pattern.len * name.len steps at most. Any thread. */
#pragma once
#include "base/bytes.h"

bool glob_match(struct bytes pattern, struct bytes name);
