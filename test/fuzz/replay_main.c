/* replay: runs a fuzz target over the files of its corpus without libFuzzer, so that gcc builds and every
 * `make test` see again what the fuzzer has found once. Usage: x_replay FILE-OR-FOLDER... */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned replayed;

static void stop(const char *path)
{
    fprintf(stderr, "replay: %s: %s\n", path, strerror(errno));
    exit(1);
}

static void replay_file(const char *path, size_t size)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        stop(path);
    /* exactly as long as the input, so that a sanitizer sees a read past its end */
    uint8_t *data = mem_must_get(size);
    if (fread(data, 1, size, f) != size)
        stop(path);
    fclose(f);
    /* said before it runs: the last line names the input that crashed */
    printf("%s\n", path);
    fflush(stdout);
    LLVMFuzzerTestOneInput(data, size);
    mem_free(data);
    replayed++;
}

static void replay(const char *path)
{
    struct stat s;
    if (stat(path, &s))
        stop(path);
    if (!S_ISDIR(s.st_mode)) {
        replay_file(path, (size_t)s.st_size);
        return;
    }
    DIR *dir = opendir(path);
    if (!dir)
        stop(path);
    for (struct dirent *entry; (entry = readdir(dir));) {
        char inner[4096];
        if (entry->d_name[0] == '.')
            continue;
        snprintf(inner, sizeof inner, "%s/%s", path, entry->d_name);
        replay(inner);
    }
    closedir(dir);
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        replay(argv[i]);
    printf("%u inputs replayed\n", replayed);
    return replayed ? 0 : 1;
}
