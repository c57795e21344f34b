import sys

from servekit import main

if __name__ == "__main__":
    sys.exit(main("plain.applications:create_app", settings="servekit:Settings"))
