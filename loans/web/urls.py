"""Route the public pages."""

from django.urls import path

from loans.web import allotments, metros, views

app_name = "loans"
urlpatterns = [
    path("", views.market, name="market"),
    path("loans/<slug:reference>/", views.loan_detail, name="loan-detail"),
    path("loans/<slug:reference>", views.loan_detail),
    path("loans/<slug:reference>/allotment.csv", allotments.allotment_csv, name="loan-allotment"),
    path("zip/", views.zip_search, name="zip-search"),
    path("zip/<str:zip_code>/", views.zip_detail, name="zip-detail"),
    path("zip/<str:zip_code>", views.zip_detail),
    path("metros/", metros.metro_search, name="metro-search"),
    path("metros/<str:code>/", metros.metro_detail, name="metro-detail"),
    path("metros/<str:code>", metros.metro_detail),
]
