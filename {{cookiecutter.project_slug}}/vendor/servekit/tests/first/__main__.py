import sys

from servekit import main

if __name__ == "__main__":
    sys.exit(main("first.app:create_app", settings="servekit:Settings"))
