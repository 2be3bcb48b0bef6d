"""An option that has one value is given once: the value before would be dropped in silence."""

from typing import Any

from typer.core import TyperCommand

from flux1.errors import RequestError


class Once(TyperCommand):
    """A command that refuses an option of one value that is given twice."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """RequestError, naming the option."""
        _, _, order = self.make_parser(ctx).parse_args(args=list(args))
        single = [one for one in order if not one.multiple and not getattr(one, "is_flag", False)]
        options = [one for one in single if one.param_type_name == "option"]
        for one in options:
            if options.count(one) > 1:
                raise RequestError(
                    str(one.name), f"{one.opts[-1]} is given twice; it has one value"
                )
        return super().parse_args(ctx, args)
