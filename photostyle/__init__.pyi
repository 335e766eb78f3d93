from .config import Config as Config
from .errors import ComputationError as ComputationError
from .errors import PhotostyleError as PhotostyleError
from .pipeline import Result as Result
from .pipeline import transfer as transfer
from .presets import configure as configure
from .version import __version__ as __version__
