"""Routes about the catalogue as a whole."""

from fastapi import APIRouter

from servekit.offload import ProcessesDep
from service.example.dependencies import CatalogueDep
from service.example.models import Overview, PriceHistory, PriceTrendReport
from service.example.price_trend import price_trend

router = APIRouter()


@router.get("/overview")
async def overview(catalogue: CatalogueDep) -> Overview:
    """Count, price and list the catalogue; independent queries run in parallel."""
    return await catalogue.overview()


@router.post("/reports/price-trend")
async def report_price_trend(history: PriceHistory, processes: ProcessesDep) -> PriceTrendReport:
    """Compute the trend of a price history in another process, as it would stop the event loop."""
    trend = await processes.run(price_trend, history.prices)
    return PriceTrendReport(direction=trend.direction, **trend._asdict())
