#include "gate/pid_file.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

err pid_file_write(struct bytes path, struct diag *reterr)
{
    char part[4096];
    if (!path.len)
        return OK;
    int len = snprintf(part, sizeof part, "%s.part", path.ptr);
    FILE *f = len > 0 && (size_t)len < sizeof part ? fopen(part, "we") : NULL;
    if (f) {
        bool good = fprintf(f, "%d\n", (int)getpid()) > 0;
        good &= fclose(f) == 0;
        if (good && rename(part, path.ptr) == 0)
            return OK;
        int why = errno;
        unlink(part);
        errno = why;
    }
    diag_set(reterr, "pid_file: cannot write %s: %s", path.ptr, strerror(errno));
    return ERR_CONF;
}

void pid_file_remove(struct bytes path)
{
    int pid = 0;
    FILE *f = path.len ? fopen(path.ptr, "re") : NULL;
    if (!f)
        return;
    bool ours = fscanf(f, "%d", &pid) == 1 && pid == (int)getpid();
    fclose(f);
    if (ours)
        unlink(path.ptr);
}
