import { NavLink } from '@mantine/core'
import { IconBrandGraphql } from '@tabler/icons-react'
import { useTranslation } from 'react-i18next'
import { useQuery } from 'urql'
import { graphql } from '../gql'

export const FEATURES = graphql(`
  query ServerFeatures {
    server {
      features
    }
  }
`)

/** The way to the API playground, where the installation has one. */
export function PlaygroundLink() {
  const { t } = useTranslation()
  const [{ data }] = useQuery({ query: FEATURES })
  if (!data?.server.features.includes('PLAYGROUND')) return null
  return (
    <NavLink
      component="a"
      href="/graphql"
      target="_blank"
      label={t('app.playground')}
      leftSection={<IconBrandGraphql size={18} stroke={1.7} aria-hidden />}
      mt="auto"
      style={{ borderRadius: 8 }}
    />
  )
}
