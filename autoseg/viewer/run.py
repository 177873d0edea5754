"""Opening the viewer: from what the user named to a server with a page."""

from autoseg.viewer.gather import Named, gather
from autoseg.viewer.niivue import ensure_installed
from autoseg.viewer.scores import ScoreBoard
from autoseg.viewer.server import Serving, bind
from autoseg.viewer.site import Site
from autoseg.workspace import Workspace


def open_viewer(named: Named, workspace: Workspace | None, *, port: int = 0) -> Serving:
    """A server, bound but not yet answering, with the page of the cases that `named` names.

    Raises AutosegErrors that say what was looked for, and ViewerError without NiiVue or for a port in use.
    """
    collection = gather(named, workspace)
    niivue = ensure_installed()
    scores = ScoreBoard(collection)
    serving = bind(Site(collection, scores, niivue), port=port)
    scores.start()
    return serving
