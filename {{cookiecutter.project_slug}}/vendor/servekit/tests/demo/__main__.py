import sys

from servekit import main

if __name__ == "__main__":
    sys.exit(main("demo.app:create_app", settings="demo.settings:Settings"))
