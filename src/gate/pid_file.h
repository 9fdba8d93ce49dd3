/* pid_file: the process's number in a file, for those who manage processes that way. Main thread. */
#pragma once
#include "base/bytes.h"
#include "base/diag.h"
#include "base/err.h"

/* Replaces what is there, whole or not at all. path: with a NUL behind it; empty: nothing is written. */
err pid_file_write(struct bytes path, struct diag *reterr) CHECK_RESULT;
/* If it still names this process: the next one of an upgrade has written its own. */
void pid_file_remove(struct bytes path);
