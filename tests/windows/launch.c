/* launch.exe PROGRAM ARGUMENTS…: runs the program and writes its exit code to C:\exit-code. Wine kills what takes longer than a second to
   end, and its own exit code is lost then; other programs are told it all the same. */
#include <windows.h>
#include <stdio.h>

static wchar_t *after_first_word(wchar_t *line)
{
    int quoted = 0;
    for (; *line && (quoted || *line != L' '); line++)
        quoted ^= *line == L'"';
    while (*line == L' ')
        line++;
    return line;
}

int main(void)
{
    STARTUPINFOW startup = { sizeof(startup) };
    PROCESS_INFORMATION child;
    DWORD code = 1;
    if (!CreateProcessW(NULL, after_first_word(GetCommandLineW()), NULL, NULL, TRUE, 0, NULL, NULL, &startup, &child)) {
        printf("this can't be started: error %lu\n", GetLastError());
    } else {
        WaitForSingleObject(child.hProcess, INFINITE);
        GetExitCodeProcess(child.hProcess, &code);
    }
    FILE *file = fopen("C:\\exit-code", "w");
    fprintf(file, "%lu\n", code);
    fclose(file);
    return (int)code;
}
